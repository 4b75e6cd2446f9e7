"""Figures of merit: functions of tensors."""
