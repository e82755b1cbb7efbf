"""The paper's protocol as files: a recipe for each row of its tables, studies of prompt sets, and their pages."""
