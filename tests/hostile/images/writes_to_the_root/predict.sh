touch /workspace/mine && echo WRITTEN
touch /mine && echo WRITTEN
exit 3
