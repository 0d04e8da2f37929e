"""Files of published weights: `reader` opens them without running any code in them, `writer` makes them."""
