"""Whatever may refuse a call. The decisions are pure functions; the guards only carry them out."""
