"""What a trained model is worth: accuracy kept (CA), backdoor gone (ASR), retrieval, Hit@K (docs/METHOD.md §6)."""
