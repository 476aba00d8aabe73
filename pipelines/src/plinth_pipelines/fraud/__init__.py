"""Fraud on card transactions: simulated data, training sets, models and their evaluation."""
