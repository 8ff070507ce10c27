"""The leaderboard as a static site: from a folder of entries to HTML files that need no server.

The way: ``contests`` says who is compared with whom; ``standings``, ``breakdowns``,
``published_tables``, ``model_pages`` and ``dataset_pages`` lay out what a page shows, as tables
(``tables``, ``cells``), figures (``charts``, ``specs``) and molecules (``molecules``); ``drawing``
makes SVG of figures, ``exports`` CSV and JSON of tables, ``rendering`` HTML; ``building`` goes
through all of it and writes the files. Whatever comes from an entry is text for the templates,
which escape all of it.
"""
