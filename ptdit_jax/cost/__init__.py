"""What a network costs: parameters, multiply-accumulates, memory, beside what the papers say."""
