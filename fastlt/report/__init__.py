"""Tables for the terminal, plots, and the HTML page of a run."""
