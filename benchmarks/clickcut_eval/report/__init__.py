"""`clickcut eval report`: one HTML page with the paper's tables and figures, of a run."""
