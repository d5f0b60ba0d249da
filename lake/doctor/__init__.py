"""What ``captionlake doctor`` looks at, and says of it: the environment and a lake. Changes nothing."""
