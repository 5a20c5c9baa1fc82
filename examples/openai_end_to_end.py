"""Upload, fine-tune, chat, call a tool and run a batch with the openai client alone.

Needs OPENAI_BASE_URL and OPENAI_API_KEY, as any program for OpenAI does.
"""

import io
import json
import time
from pathlib import Path

from openai import OpenAI

TRAIN = Path(__file__).with_name("support.jsonl")
client = OpenAI()

# Questions with their answers, as conversations.
rows = [json.loads(line) for line in TRAIN.read_text().splitlines()]
chats = [
    {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
    for row in rows
]
content = "\n".join(json.dumps(chat) for chat in chats).encode()
file = client.files.create(file=("support.jsonl", io.BytesIO(content)), purpose="fine-tune")
print("Uploaded:", file.id, file.bytes, "bytes")

# Train on the first model that is there.
base = client.models.list().data[0].id
job = client.fine_tuning.jobs.create(
    model=base,
    training_file=file.id,
    suffix="basalt",
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 8}}},
)
while job.status in ("validating_files", "queued", "running"):
    print("Training:", job.status)
    time.sleep(10)
    job = client.fine_tuning.jobs.retrieve(job.id)
if job.status != "succeeded" or job.fine_tuned_model is None:
    raise SystemExit(f"Training ended as {job.status}: {job.error}")
print("Model:", job.fine_tuned_model, "after", job.trained_tokens, "tokens")
for event in list(client.fine_tuning.jobs.list_events(job.id, limit=3)):
    print("-", event.message)

# Chat.
question = {"role": "user", "content": "How heavy is the Basalt Courier?"}
stream = client.chat.completions.create(
    model=job.fine_tuned_model, messages=[question], temperature=0, max_tokens=60, stream=True
)
print("It says: ", end="")
for chunk in stream:
    print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
print()

# A tool call, whose arguments always fit the schema.
tool = {
    "type": "function",
    "function": {
        "name": "book_service",
        "description": "Book a service in the workshop.",
        "parameters": {
            "type": "object",
            "properties": {
                "bicycle": {"enum": ["Courier", "Glide", "Mini"]},
                "day": {"type": "string", "maxLength": 12},
            },
            "required": ["bicycle", "day"],
            "additionalProperties": False,
        },
    },
}
answer = client.chat.completions.create(
    model=base,
    messages=[{"role": "user", "content": "Book a service for my Glide on Friday."}],
    tools=[tool],
    tool_choice="required",
    temperature=0,
)
call = answer.choices[0].message.tool_calls[0]
print("Calls:", call.function.name, json.loads(call.function.arguments))

# A batch: all questions at once.
lines = [
    {
        "custom_id": f"q{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": job.fine_tuned_model,
            "messages": chat["messages"][:1],
            "temperature": 0,
            "max_tokens": 60,
        },
    }
    for number, chat in enumerate(chats)
]
asked = client.files.create(
    file=("questions.jsonl", io.BytesIO("\n".join(json.dumps(line) for line in lines).encode())), purpose="batch"
)
batch = client.batches.create(input_file_id=asked.id, endpoint="/v1/chat/completions", completion_window="24h")
while batch.status in ("validating", "in_progress", "finalizing"):
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
answers = {}
for line in client.files.content(batch.output_file_id).text.splitlines():
    done = json.loads(line)
    answers[done["custom_id"]] = done["response"]["body"]["choices"][0]["message"]["content"].strip()
right = sum(answers[f"q{number}"] == row["completion"] for number, row in enumerate(rows))
print(f"Batch: {batch.status}, {right} of {len(rows)} answers word for word")

# Leave no file behind.
for each in (file, asked):
    client.files.delete(each.id)
