"""Talk to a model through the official client. First: pip install openai, and `pumice serve` in another terminal."""

import os
import sys

from openai import OpenAI

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct-q4_1"
question = sys.argv[2] if len(sys.argv) > 2 else "What is pumice?"

# Until `pumice keys create NAME` was run, any key will do.
address = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1")
client = OpenAI(base_url=address, api_key=os.environ.get("OPENAI_API_KEY", "none"))
messages = [{"role": "user", "content": question}]
for chunk in client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=100, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
