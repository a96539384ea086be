"""The composition root: makes the parts, joins them, and takes them down in order."""
