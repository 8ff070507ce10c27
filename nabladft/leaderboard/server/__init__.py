"""The blind scoring server: predictions come in, rounded aggregates go out, labels stay.

Two kinds of processes share a data folder and a database. The *API* takes submissions; it never
opens the labels. *Workers* score them, each in a child process with limits on memory and time; only
the child reads what a stranger has sent, and it knows neither the database nor a token.

States of a submission, and who may change them::

                    submit (API)      claim (worker)      finish (worker)
    create (API) -> uploading -----> queued ----------> scoring ----------> scored | failed
                        |              ^  |                |
                        |              |  |                | lease over (any worker claims it anew)
                        |              |  |                | labels unreadable, child crashed
                        |              +--|----------------+
                        +----> deleted <--+
                   delete (API), expire (worker)

Every arrow is one transaction that changes the row only where it still has the state (and, for a
worker, the claim) that the arrow begins at, and that appends the line of the audit log. So an arrow
happens whole or not at all, and once. On PostgreSQL rows are claimed with FOR UPDATE SKIP LOCKED;
on SQLite a writing transaction begins with BEGIN IMMEDIATE, so that there is one at a time.

What SIGKILL leaves, at any point:

- *In create.* A row or none. The client asks again; the same account with the same content (entry,
  names, sizes and hashes of the files) finds the row that is there, by a unique key.
- *In an upload.* A file ``N.part`` with the bytes that arrived. Its size is the offset, there is no
  second record of it that could disagree; the client asks for it and goes on. Only a complete file
  with the declared SHA-256 is renamed to ``N.h5``; one with another hash is emptied.
- *In submit.* ``uploading`` or ``queued``. To submit again what is queued, scored or failed changes
  nothing.
- *In a claim.* ``queued`` or ``scoring``. A claim is a random word and a lease, which the worker
  extends while its child runs. When the lease is over, any worker may claim anew.
- *While scoring.* The child ends when its standard input closes, that is, with the worker. The
  computation is done again: it reads files that nobody changes, so it gives the same numbers.
- *In finish.* ``scoring`` without scores, or ``scored`` with all of them: scores, state and audit
  line are one transaction, and only the holder of the claim may commit it. A worker that slept past
  its lease finds that the claim is another's and drops its result. So a submission may be computed
  more than once, but it is recorded exactly once.
- *In delete.* The row says ``deleted`` before files are removed; a worker sweeps what is left.

Nothing is lost, because no state is only in memory: the queue is the rows. Nothing is doubled,
because creation has a unique key and every other change names the state that it begins at.

Modules: :mod:`settings`, :mod:`database`, :mod:`audit`, :mod:`accounts`, :mod:`submissions` and
:mod:`uploads` (what the API changes), :mod:`claims` (what workers change), :mod:`public` (what may
be seen, and rounding), :mod:`refusals` (every message), :mod:`scoring` (the child), :mod:`worker`,
:mod:`blinding` (the copy of the data without labels), :mod:`api`, :mod:`schemas` and :mod:`shaping`
(what goes over the wire), :mod:`limiting`, :mod:`pages`, :mod:`serving`, :mod:`supervision`.
"""
