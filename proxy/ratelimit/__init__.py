"""Rate limits: `descriptors` is what a request is counted as, `local` decides with token buckets."""
