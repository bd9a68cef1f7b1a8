"""A small service that exists to be tormented: accounts with entries, a reaction, a projection, timers, calls, pages.

It has the files of every service, so it also shows the shape of one.
"""
