"""The AWS wire. Words of AWS stay in here."""
