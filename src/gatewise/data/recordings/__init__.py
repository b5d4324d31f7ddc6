"""Labelled recordings: from ``.ts`` files, folders and tables to what a classifier is given."""
