"""Tables: from a file or a data frame to series, made ready for a network, and windows over them."""
