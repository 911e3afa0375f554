"""The methods that are compared: each is the phases that lead from a pretrained model to a trained one."""
