"""From records to a report that people look at: figures, tables, a page."""
