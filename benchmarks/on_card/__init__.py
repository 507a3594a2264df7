"""What is checked and measured on an NVIDIA card; on a stand-in of one it runs too, only its times mean nothing."""
