"""File bodies on the wire: a pool checks the parts of a source and sends them, one worker or several.

What this room promises:

* **Only the caller decides.** Before a POST the gate's ``may_begin`` is asked, before the last block its
  ``may_finish``. Both run in the caller's main thread. Nothing is repeated here: a part ends in exactly one
  of ``answered`` and ``lost``, and giving the job again is the caller's decision.
* **A part that was not allowed to finish is never complete.** Its last block is held back, and while it is,
  every way out (an exception, ``SenderPool.cut``, SIGKILL, the end of the pipe to a child) resets the socket.
* **What is sent is what was checked.** The digest of everything read for the body is compared before
  ``may_finish`` is asked.
* Flat memory, nothing copied to disk (but an unlinked ``spool_dir`` file, when asked for), secrets only in
  memory and in the pipe to a child, nothing of Airflow imported.

How a caller uses it::

    found = find_files(source, open_path, mime_type=..., check_extension=...)    # documents.source.files
    rejects = RejectFile(folder, "name.ndjson", content="line") or None          # documents.source_check
    with SenderPool(files=found, rules=LineRules(document_type=...), layout=Layout(max_part_bytes=...),
              workers=2, spool_dir=None, rejects=rejects) as pool:
        pool.run(pool.first_pass(), gate)            # pass 1: gate.checked(part, findings) in index order
        uri = rejects.finish()                       # the reject file gets its name
        ...judge, create the import...
        pool.aim(Target(url=..., headers=...))
        todo = [part for part in parts if part.lines]
        pool.run(lambda in_flight: Job(part=todo.pop(0), check=False) if todo else None, gate)   # pass 2

* To have each part leave as soon as it is checked (``SendingOptions(overlap=True)``): ``pool.aim(...)`` first, then
  ``pool.run(pool.first_pass(send=True), gate)``.
* A later try has recorded parts: ``Job(part=part, check=pool.needs_check(part), report=False)``. When pass 1
  itself has to go on after the last recorded part: ``pool.first_pass(send=True, after=parts[-1])``.
* ``next_job(in_flight)`` is called whenever a worker is free; ``None`` means no more jobs (when nothing is in
  flight the run ends; while something is, it is asked again after each outcome, so a lost part may be given
  again). ``in_flight`` are the parts being checked or sent.
* Jobs of a compressed or remote source are best given in index order: going back means reading from the
  beginning of the file again.
* A ``may_begin`` that raises ``NotNow`` leaves its part unsent, and the run goes on: for parts that were
  given before an answer was lost. Any other exception of the gate ends the run and the pool.
* Enter the pool in the main thread: on Linux, children are killed with the thread that started them.
* A child that ends by itself (killed by the system) ends the others and the run with ``ChildLost``, after every
  part that was on its way was told to ``lost``.
* ``SenderPool.cut`` may be called from a signal handler at any moment. ``run`` then raises
  ``SendingCut`` without calling the gate again.
* Errors of the source (:class:`~airflow_bulk.documents.source.parts.SourceError`: unreadable, truncated gzip,
  :class:`~airflow_bulk.documents.source.parts.SourceChanged`) are raised by ``run``; the bodies in flight are cut.
"""
