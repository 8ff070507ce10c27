"""From any source to a store or an exported file, whatever the size, on one machine or many.

:func:`nabladft.conversion.converting.convert` is the one function; the rest are its parts: how a
source is named so that another process can open it (``sources``), what is to be done
(``planning``), reading rows that may be bad (``rows``), one shard (``tasks``), who does the tasks
(``scheduling``), comparing afterwards (``verifying``), other formats (``exporting``).
"""
