"""What a trained model is worth: accuracy kept (CA), backdoor gone (ASR), retrieval, Hit@K (METHOD §6)."""
