"""The page of an experiment: tables, statistics, pictures, and what does not hold."""
