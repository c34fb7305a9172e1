"""Networks: numbers to modules, and how to run them."""
