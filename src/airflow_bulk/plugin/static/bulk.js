// Three things that a page cannot do by itself: look like Airflow around it, open Airflow's pages from within a frame, and
// follow work that runs.
"use strict";

const AGAIN = 5000; // milliseconds between two looks while something runs
const framed = window.parent !== window;

function airflow() {
  try {
    return framed ? window.parent.document : null;
  } catch {
    return null; // another site's frame: nothing of it can be read
  }
}

function followTheme() {
  const root = airflow()?.documentElement;
  if (!root) return;
  const set = () => {
    document.documentElement.dataset.theme = root.classList.contains("dark") || root.dataset.theme === "dark" ? "dark" : "light";
  };
  set();
  new MutationObserver(set).observe(root, { attributes: true, attributeFilter: ["class", "data-theme"] });
}

// The frame may not lead the window away, so a link of Airflow's own page does it.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-airflow], a[data-away]");
  const outer = airflow();
  if (!link || !outer || event.defaultPrevented) return;
  event.preventDefault();
  const twin = outer.createElement("a");
  twin.href = link.href;
  if ("away" in link.dataset || event.ctrlKey || event.metaKey) {
    twin.target = "_blank";
    twin.rel = "noopener noreferrer";
  }
  outer.body.append(twin);
  twin.click();
  twin.remove();
});

async function lookAgain() {
  const page = document.getElementById("page");
  if (page && "live" in page.dataset && !document.hidden && !page.contains(document.activeElement)) {
    try {
      const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
        if (fresh && fresh.innerHTML !== page.innerHTML) page.replaceWith(fresh);
      } else if (answer.status === 401 || answer.status === 403) {
        return; // logged out: what is shown stays
      }
    } catch {
      // Airflow is away for a moment.
    }
  }
  setTimeout(lookAgain, AGAIN);
}

followTheme();
setTimeout(lookAgain, AGAIN);
