-- The databases of Prefect's server, of MLflow's, and of the monitor; run once, by the first start of PostgreSQL.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
CREATE DATABASE monitor;
