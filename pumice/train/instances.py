"""GPUs that can be rented by the hour, with what they cost and reach. Knows nothing of this machine.

The prices are AWS's for Linux on demand in us-east-1, without storage and taxes, read on 2026-11-25 in the catalogue
that SkyPilot makes of AWS's price list (github.com/skypilot-org/skypilot-catalog, catalogs/v8/aws/vms.csv); AWS's own
page is aws.amazon.com/ec2/pricing/on-demand. The peaks are for dense bf16 products, from NVIDIA's data sheets.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

READ_ON = date(2026, 11, 25)
REACHED = 0.3
"""Share of the peak that training is taken to reach. A model of a few million weights reaches less."""


@dataclass(frozen=True)
class Instance:
    """A machine with one GPU, as training uses one."""

    name: str
    gpu: str
    peak: float
    """Operations a second."""
    price: float
    """US dollars an hour."""

    def hours(self, operations: float) -> float:
        """How long so many operations take at `REACHED` of the peak."""
        return operations / (self.peak * REACHED) / 3600


INSTANCES = (
    Instance("g6.xlarge", "L4", 121e12, 0.8048),
    Instance("g6e.xlarge", "L40S", 362e12, 1.861),
    Instance("p5.4xlarge", "H100", 989e12, 6.88),
)
