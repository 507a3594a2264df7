"""What is checked and measured on an NVIDIA card. It runs on a stand-in of a card too, where only the times mean nothing."""
