"""Tables, figures and one page from records: nothing here imports torch or reads weights."""
