"""Topics, event types and codecs: the only thing that two services share."""
