//! Tensor operations with hand-written backward passes, where candle's own are slow or cut the graph.
