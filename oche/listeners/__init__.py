"""Who watches a long job: progress, events, a user's own callbacks."""
