"""The limits of a connection: requests a minute, bodies at once, bytes a second. All who use the connection share them.

``store.py`` is where the numbers lie, ``rate.py`` spaces what leaves, ``bodies.py`` is what a sender asks, and ``sharing.py``
chooses the store of this installation. Nothing here imports Airflow when it is loaded: sending children load it.
"""
