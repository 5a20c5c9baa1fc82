"""What runs inside SageMaker's containers: `python -m pumice.deploy.sagemaker train` and `… serve`."""
