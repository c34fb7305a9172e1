"""The HTML page of a finished study, made from its result folder alone."""
