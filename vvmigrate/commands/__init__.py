"""One module for each verb: options in, a report out. Nothing here prints or exits."""
