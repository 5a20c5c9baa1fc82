"""The shapes of fine-tuning jobs, both ways, as OpenAI's client reads and writes them. Knows no behaviour."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from pumice.api.openai.wire import Wire, absent, conflict

Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"]
_AUTO = BeforeValidator(lambda value: None if value == "auto" else value)
Whole = Annotated[Annotated[int, Field(ge=1)] | None, _AUTO]
Rate = Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, _AUTO]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class Hyperparameters(Wire):
    """Numbers, or `auto`, which is what is left out too."""

    n_epochs: Whole = None
    batch_size: Whole = None
    """Rows before the weights change once."""
    learning_rate_multiplier: Rate = None


class PreferenceHyperparameters(Hyperparameters):
    beta: Rate = None


class Supervised(Wire):
    hyperparameters: Hyperparameters = Hyperparameters()


class Preference(Wire):
    hyperparameters: PreferenceHyperparameters = PreferenceHyperparameters()


class Method(Wire):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Preference | None = None
    reinforcement: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _table_and_type_agree(self) -> Method:
        for name in ("supervised", "dpo", "reinforcement"):
            if name != self.type and dict(self)[name] is not None:
                raise conflict(name, f"'{name}' is the table of type '{name}'; the type here is '{self.type}'")
        return self


class JobRequest(Wire):
    """`POST /v1/fine_tuning/jobs`."""

    model: str = Field(min_length=1)
    training_file: str
    validation_file: str | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """The name of the model; by default that of the training file."""
    seed: Annotated[int, Field(ge=0)] | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    """OpenAI's older place for those of `supervised`."""
    metadata: Metadata | None = None
    integrations: Annotated[None, absent("metrics are in the job's events and its result file.")] = None
    pumice: dict[str, Any] | None = None
    """Keys of a recipe that OpenAI has no word for."""

    @model_validator(mode="after")
    def _one_place_for_hyperparameters(self) -> JobRequest:
        if self.method and self.hyperparameters:
            raise conflict("hyperparameters", "'hyperparameters' is the older form of 'method'; send one")
        return self


class JobError(BaseModel):
    code: str
    message: str
    param: str | None


class Shared(BaseModel):
    """What the wire gives back as it was sent."""

    training_file: str
    """A file's id; of a job that came another way the name of its data file."""
    validation_file: str | None = None
    metadata: dict[str, str] | None = None
    result_files: list[str] = []
    seed: int = 0


class FineTuningJob(Shared):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    model: str
    fine_tuned_model: str | None
    """A name that answers in chat, once the job has succeeded."""
    organization_id: Literal["pumice"] = "pumice"
    status: Status
    error: JobError | None
    trained_tokens: int | None
    integrations: list[Any] = []
    hyperparameters: dict[str, Any]
    """Numbers as soon as they are decided, `auto` until then."""
    method: dict[str, Any]


class JobEvent(BaseModel):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class Metrics(BaseModel):
    step: int
    train_loss: float
    valid_loss: float | None = None
    full_valid_loss: float | None = None


class Checkpoint(BaseModel):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: Metrics
    step_number: int
