"""Ask a model that `pumice deploy aws apply` has made, with OpenAI's own client: URL=… KEY=… python aws_client.py"""

from __future__ import annotations

import os

from openai import OpenAI

# The gateway knows its callers by x-api-key; OpenAI's own key is not looked at.
key = os.environ["KEY"]
client = OpenAI(base_url=os.environ["URL"], api_key=key, default_headers={"x-api-key": key})
answer = client.chat.completions.create(
    model="deployed", messages=[{"role": "user", "content": "How do I reset my password?"}], max_tokens=64, stream=True
)
for piece in answer:
    print(piece.choices[0].delta.content or "", end="", flush=True)
print()
