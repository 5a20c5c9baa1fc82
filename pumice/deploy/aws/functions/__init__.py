"""What runs in Lambda: each file stands alone with boto3. `code.py` zips them; nothing imports them."""
