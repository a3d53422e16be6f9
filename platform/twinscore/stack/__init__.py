"""The local stack: start, find and stop MLflow and Ray on this machine."""
