"""
The process between its owner and an embedded Postgres: it alone makes, starts and ends the server.

The owner holds the other end of its standard input.  However the owner ends, SIGKILL included, that
pipe closes, and this process stops Postgres and removes what it made.  If this process is killed
itself, Linux ends Postgres, and the next start removes the folder.

Standard library only, here and in the packages above: `embedded.py` runs this with `python -I -S`,
so that a start does not pay for importing the project.  All of it is imported before privileges are
dropped, since the library may be in a folder which the server's user cannot read.  What that user
owns is touched as that user only, so that no link planted there can lead root astray.
"""
