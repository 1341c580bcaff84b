"""What ``deploy/`` becomes: rendered, its rights compared with their use, and the operator as a pod of the tests."""
