"""A module for each verb, and what verbs do by others: options in, a report out. Nothing here prints or exits."""
