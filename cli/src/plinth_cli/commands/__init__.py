"""One module a group of commands; each is light to import and loads what it needs when it is called."""
