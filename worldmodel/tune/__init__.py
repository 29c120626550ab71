"""`python -m worldmodel.tune`: a policy that sets the angles of circuits."""
