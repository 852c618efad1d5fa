"""The explorer: a web page to browse a generator with the mouse; `jaxgan explore` starts it."""
