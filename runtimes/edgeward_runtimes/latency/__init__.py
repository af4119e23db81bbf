"""Counting predictions: what is counted (`histogram`, `counters`), by whom (`recorder`), kept where (`fold`)."""
