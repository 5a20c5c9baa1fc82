"""Work that takes minutes: one record, one folder and one child process a job. Knows neither terminals nor HTTP."""
